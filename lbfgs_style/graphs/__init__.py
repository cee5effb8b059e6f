"""ONNX graphs: build them, differentiate them, rewrite them for the CPU, weigh their memory. Knows no styles.

autodiff, builder, cpu_layout, gradient_rule, network_graph, operator_reach, peak_memory, receptive_fields,
rules_elementwise, rules_windowed, winograd
"""
