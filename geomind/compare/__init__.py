"""The ladder: every method trained on the same photos with the same budget, and one table that tells which is better.

ladder      runs what is not finished: trainings, answers, the table after each
methods     the rungs, each a few lines
benches     the photos: the demo world, the Earth from above, a manifest
results     what one rung came to, on the disk and read back
table       one table in five forms
protocols   published test sets, and what their papers count
"""
