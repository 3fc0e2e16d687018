"""How two answers that were read are compared: their forms, their values, and sets of real numbers."""
