"""ONNX graphs: build, differentiate and rewrite them, estimate their memory. Knows nothing about styles.

autodiff             reverse-mode differentiation
builder              collect nodes and constants of a graph
cpu_layout           rewrite a graph into the form that onnxruntime runs best on a CPU
gradient_rule        what a differentiation rule gets, and helpers of rules
network_graph        parts of a feature network
operator_reach       which positions of its input each operator sees
peak_memory          the memory of one run of a graph
receptive_fields     which pixels a feature sees
rules_activations    rules of activations
rules_elementwise    rules of elementwise operators, products, reductions
rules_normalization  rules of normalizations
rules_shapes         rules of operators that move, copy or leave out values
rules_windowed       rules of convolution, pooling, padding
winograd             Winograd's form of 3×3 convolutions
"""
