"""`shuttle demo`: one real build, shown as its caller sees it."""
