"""Read and write the weights of a model.

key_mapping         names of parameters: three layouts of Hugging Face, their canonical form, and ours
safetensors_header  names, shapes and places of the tensors of a file
weight_files        which files of a folder hold its weights, and whether they agree
safetensors_io      a folder of safetensors, with tensors read by slices
cache               converted weights stored on disk
output_map          the output map and the embedding, tied or not
loading             from safetensors to our modules; each device reads only its own slices
saving              from our modules to a Hugging Face folder
"""
