/* SPDX-License-Identifier: Apache-2.0 */
/* The program behind an anchor that a library computed: VECTOR neighbours a thread, read where they are and written there. Tensor AFTER of
   the index space is the result. */
extern "C" __global__ void __launch_bounds__(THREADS) tenon_after(const __grid_constant__ tenon_args args)
{
    unsigned place[RANK > 0 ? RANK : 1];
    long long at[TENSORS];
    tenon_class v[VECTOR];
    const bool there = tenon_walk<VECTOR>(args, blockIdx.x * (unsigned)THREADS + threadIdx.x, place, at);
    tenon_wait();
    tenon_trigger();
    if (!there) return;
    tenon_load<AFTER_TYPE, VECTOR, AFTER_ACCESS>(args.at[AFTER], at[AFTER], tenon_step(args, AFTER, RANK - 1), args.aligned >> AFTER & 1, v);
    tenon_body<VECTOR>(args, at, v);
}
