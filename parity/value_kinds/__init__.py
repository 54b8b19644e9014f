"""What each kind of bug makes of a checkpoint's values, one file a family."""
