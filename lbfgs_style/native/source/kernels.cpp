// The kernels, compiled once for each instruction set: KERNELS is the identifier of their table, NAME the name of the
// instruction set as a string.
#include "convolution.hpp"
#include "images.hpp"
#include "pooling.hpp"
#include "reorder.hpp"

extern const Kernels KERNELS;
const Kernels KERNELS = {
    NAME,
    convolution_scratch,
    point_convolution_scratch,
    point_pair_scratch,
    gram_scratch,
    image_convolution_scratch,
    image_gradient_scratch,
    convolution,
    point_convolution,
    point_pair,
    gram,
    image_convolution,
    image_gradient,
    pool,
    pool_gradient,
    reorder<true>,
    reorder<false>,
};
