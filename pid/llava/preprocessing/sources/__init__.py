"""What comes from outside: images of any kind, and the files of a model folder.

image_sources    a PIL image, an array, a file or its bytes → a decoded, upright picture
color_modes      a picture of any color mode → red, green and blue in 8 bits
folder_facts     facts that stand in several files of a model folder: filled, and refused where files disagree
model_style      the prompt style that belongs to a model
processor_parts  tokenizer, image processor and tile of a processor of transformers, checked
"""
