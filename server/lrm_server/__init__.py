"""The lrm server: reward heads over a batched vision-language engine."""
