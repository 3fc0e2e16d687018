"""What is measured at a step of training, for the record and for the eye; nothing here changes the policy."""
