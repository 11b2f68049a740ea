/* SPDX-License-Identifier: Apache-2.0 */
/* A pointwise program over an index space: VECTOR neighbours a thread. The grid is sized for the most elements of the bucket; how many
   there are now is in the shape block, and blocks past the end leave. */
extern "C" __global__ void __launch_bounds__(THREADS) tenon_pointwise(const __grid_constant__ tenon_args args)
{
    unsigned rest = blockIdx.x * (unsigned)THREADS + threadIdx.x;
    long long at[TENSORS];
    bool surplus = false;
#pragma unroll
    for (int t = 0; t < TENSORS; t++) at[t] = 0;
#pragma unroll
    for (int axis = RANK - 1; axis >= 0; axis--) {
        const unsigned vector = axis == RANK - 1 ? VECTOR : 1, size = (unsigned)tenon_size(args, axis) / vector;
        unsigned i = rest;
        if (size == 0) {
            surplus = true;
        } else if (axis > 0) {
            rest = i / size;
            i -= rest * size;
        } else {
            surplus |= i >= size;
        }
#pragma unroll
        for (int t = 0; t < TENSORS; t++) at[t] += (long long)(i * vector) * tenon_step(args, t, axis);
    }
    if (RANK == 0) surplus = rest > 0;
    tenon_wait();
    tenon_trigger();
    if (!surplus) tenon_body<VECTOR>(args, at, nullptr);
}
