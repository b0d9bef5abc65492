"""Trains 4-bit LoRA adapters on one dataset: with DPO on pairs, or with KTO on responses that are
labelled good or bad. Runs alone: it imports nothing of ours.

Reads `train.jsonl`, `eval.jsonl` and `manifest.json` of the dataset; writes to the output folder
`adapter/`, `metrics.jsonl`, `checkpoints/` and, last, `result.json`. Started again with the same
output, it goes on from the last checkpoint, to the same end. Works on Python 3.10 with TRL 1.14.2
as in the image, on a GPU or a CPU, without a network.

Exit codes: 0 done, 2 wrong usage, 10 bad data or base model, 11 a GPU was asked for and there is
none, 12 the GPU's memory ran out, 13 the loss is not a number, 14 a check of the training failed,
143 stopped (a checkpoint is kept).
"""
