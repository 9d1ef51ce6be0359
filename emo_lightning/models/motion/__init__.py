"""Stage 2: ExpNet, EmoNet, PoseNet and the fine-grained emotion matrix."""
