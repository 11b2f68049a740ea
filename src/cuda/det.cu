/* SPDX-License-Identifier: Apache-2.0 */
/* Determinants: a warp a matrix, which it eliminates in shared memory, in double and with row exchanges, as the reference does. Domain: the
   axes in front of the matrices. Source 0 is x; ORDER rows and columns at most. */
__shared__ double tenon_matrix[ORDER * ORDER];

/* The row at or under c whose element of column c is the largest; the first of equals. */
static __device__ __forceinline__ unsigned tenon_pivot(unsigned n, unsigned c)
{
    double best = -1;
    unsigned at = c;
    if (tenon_matrix[c * ORDER + c] != tenon_matrix[c * ORDER + c]) return c; /* nothing is larger than what is no number */
    for (unsigned r = c + threadIdx.x; r < n; r += 32) {
        const double v = fabs(tenon_matrix[r * ORDER + c]);
        if (v > best) best = v, at = r;
    }
#pragma unroll
    for (int d = 16; d > 0; d /= 2) {
        const double other = __shfl_xor_sync(0xffffffffu, best, d);
        const unsigned place = __shfl_xor_sync(0xffffffffu, at, d);
        if (other > best || (other == best && place < at)) best = other, at = place;
    }
    return best < 0 ? c : at;
}

extern "C" __global__ void __launch_bounds__(32) tenon_det(const __grid_constant__ tenon_args args)
{
    const unsigned n = (unsigned)tenon_src_dim(args, 0, RANK0 - 1), lane = threadIdx.x;
    unsigned rest = blockIdx.x;
    long long from = 0, to = 0;
    bool there = true;
#pragma unroll
    for (int axis = RANK - 1; axis >= 0; axis--) {
        const unsigned size = (unsigned)tenon_size(args, axis);
        const unsigned i = size ? rest % size : 0;
        there &= size > 0;
        rest = size ? rest / size : rest;
        from += (long long)i * tenon_src_step(args, 0, tenon_axis(axis));
        to += (long long)i * tenon_step(args, 0, axis);
    }
    tenon_wait();
    tenon_trigger();
    if (!there || rest > 0) return; /* the whole warp */
    for (unsigned e = lane; e < n * n; e += 32)
        tenon_matrix[e / n * ORDER + e % n] = tenon_to<double>::value(
            tenon_source<X_TYPE>(args, 0)[from + e / n * tenon_src_step(args, 0, RANK0 - 2) + e % n * tenon_src_step(args, 0, RANK0 - 1)]);
    __syncwarp();
    double det = 1;
    for (unsigned c = 0; c < n && det != 0; c++) {
        const unsigned pivot = tenon_pivot(n, c);
        __syncwarp();
        const double top = tenon_matrix[pivot * ORDER + c];
        __syncwarp(); /* all have read it before a lane exchanges the rows */
        if (top == 0) det = 0;
        if (pivot != c) det = -det;
        for (unsigned k = lane; k < n && pivot != c; k += 32) {
            const double t = tenon_matrix[pivot * ORDER + k];
            tenon_matrix[pivot * ORDER + k] = tenon_matrix[c * ORDER + k];
            tenon_matrix[c * ORDER + k] = t;
        }
        __syncwarp();
        det *= top;
        for (unsigned r = c + 1 + lane; r < n && det != 0; r += 32) {
            const double factor = tenon_matrix[r * ORDER + c] / top;
            for (unsigned k = c; k < n; k++) tenon_matrix[r * ORDER + k] -= factor * tenon_matrix[c * ORDER + k];
        }
        __syncwarp();
    }
    if (lane == 0) ((X_TYPE *)args.at[0])[to] = tenon_make<X_TYPE>(det);
}
