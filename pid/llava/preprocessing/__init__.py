"""Convert an image and a question to the arrays that the model reads, on the host.

prompts         the text around an image and a question: styles and answer suffixes
tokenization    the text as token ids, with a `TokenType` for each
anyres          LLaVA-1.6: where each image token comes from, for images of any resolution
sources         what comes from outside: images of any kind, the files of a model folder
images          an image as normalized tiles of pixels
processor       tokenizer, image processor and prompt style together, with a fingerprint
encoded_prompt  one prompt with its image, encoded and not padded
padding         several encoded prompts, padded to one batch
encoding        raw samples → encoded prompts and batches
host_arrays     the arguments of `forward` as arrays
batch_types     the token types of a batch, from types or an attention mask
device_inputs   a batch, checked and laid out for the device
"""
