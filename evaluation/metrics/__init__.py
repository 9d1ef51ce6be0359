"""One metric a file: a pure function and a thin torchmetrics class. Nothing of ours is imported here.

States are sums, or features joined end to end where every pair of them counts, so ranks may have seen any number of clips.
"""
