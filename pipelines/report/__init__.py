"""The comparison of arms as one HTML page that needs no server, no script and no network."""
