"""From a folder of photos to rows."""
