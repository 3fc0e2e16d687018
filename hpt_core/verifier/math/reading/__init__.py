"""How an answer is read: characters, tokens, and the grammar from operands up to whole answers."""
