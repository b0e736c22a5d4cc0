"""Pictures by the million to verdicts in Parquet: `mos-guard score`. No torch.

`sources.py` finds what is to be judged and cuts it into parts, `parts.py` judges one part and writes it whole or not at
all, `run.py` goes through the parts that are missing, here or, by `cluster.py`, on the machines of a Ray cluster.
"""
