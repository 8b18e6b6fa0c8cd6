from pdeformer.attention.evolved import pde_attention as pde_attention
from pdeformer.attention.evolved import pde_attention_weights as pde_attention_weights
from pdeformer.attention.softmax import Attended as Attended
from pdeformer.attention.softmax import chunked_attention as chunked_attention
from pdeformer.attention.softmax import dot_product_attention as dot_product_attention
