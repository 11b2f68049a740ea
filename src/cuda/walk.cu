/* SPDX-License-Identifier: Apache-2.0 */
/* Element `rest` of the index space, the last axis in vectors of V: where it is along each axis, and its offset in each tensor. False: the
   space has no so many. */
template <int V> static __device__ __forceinline__ bool tenon_walk(const tenon_args &args, unsigned rest, unsigned *place, long long *at)
{
    bool there = RANK > 0 || rest == 0;
#pragma unroll
    for (int t = 0; t < TENSORS; t++) at[t] = 0;
#pragma unroll
    for (int axis = RANK - 1; axis >= 0; axis--) {
        const unsigned vector = axis == RANK - 1 ? V : 1, size = (unsigned)tenon_size(args, axis) / vector;
        unsigned i = rest;
        if (size == 0) {
            there = false;
        } else if (axis > 0) {
            rest = i / size;
            i -= rest * size;
        } else {
            there &= i < size;
        }
        place[axis] = i * vector;
#pragma unroll
        for (int t = 0; t < TENSORS; t++) at[t] += (long long)(i * vector) * tenon_step(args, t, axis);
    }
    return there;
}
