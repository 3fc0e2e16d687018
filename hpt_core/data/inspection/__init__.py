"""What a data set's columns hold, and the source entry that reads it: `hpt inspect`."""
