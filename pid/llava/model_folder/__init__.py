"""The config.json of a model folder: found, checked, and read by the classes of transformers.

config_json          the file, and what to do with a path that is no model folder
field_checks         its fields, checked for what they must be
transformers_config  its fields as a configuration of transformers
output_folder        the folder of a cache, a store or a saved model, before it is written
"""
