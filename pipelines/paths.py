"""Every path that two files name, once: inputs and outputs of the stages, relative to the project."""
