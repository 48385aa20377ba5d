"""From predictions and truth to numbers and pictures."""
