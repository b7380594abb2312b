"""What the torture tests share: children that are made to fail, and what must hold of the log they leave."""
