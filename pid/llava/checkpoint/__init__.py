"""Read and write the weights of a model.

key_mapping     names of parameters: three layouts of Hugging Face, their canonical form, and ours
safetensors_io  a folder of safetensors, with tensors read by slices
cache           converted weights stored on disk
loading         from safetensors to our modules; each device reads only its own slices
saving          from our modules to a Hugging Face folder
"""
