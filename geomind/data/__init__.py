"""From what a person has to photos in batches: sources, the manifest, splits, the data set, the demo world."""
