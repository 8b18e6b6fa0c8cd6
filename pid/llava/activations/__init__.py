"""Capture activations of many samples under many knockout conditions, into a store on disk.

batching          encoded prompts → batches of few shapes
capture_config    the choices of a capture
row_checks        samples, checked alone and before any padding
shared_prefix     many conditions, with the tokens before the question run once
shard_writer      a folder of shards that survives a kill
host_group        several hosts whose devices hold one model: the first writes
activation_store  captured activations, read in the order of the samples
collect           `capture`: samples × conditions → a store
"""
