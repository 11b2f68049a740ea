/* SPDX-License-Identifier: Apache-2.0 */
/* What no one command owns: the topics of `tenon help`, which are sections of the manual page too. Lines that begin with four
   blanks and `tenon` are commands, which a test runs. */
#include "cli.h"

const cli_topic cli_topics[] = {
    {"dynamic-shapes", "models whose sizes vary: what to say at the build, what at the run",
     "A dimension that the model leaves open has a name ([batch]x3x224x224 in `tenon inspect model.onnx`). An engine wants\n"
     "to know in which range it varies, and for which value to be fast:\n"
     "\n"
     "    tenon build model.onnx -o model.engine --shape x=1x3x224x224:4x3x224x224:8x3x224x224\n"
     "\n"
     "It then runs every batch from 1 to 8, is tuned for 4, and refuses 9 with a message that names the input and the\n"
     "range. A dimension without a range is fixed to 1, and a warning says so. Memory is that of the largest shape. A run\n"
     "sets its shapes by what it is given:\n"
     "\n"
     "    tenon run model.engine --input x=x.npy --output y=y.npy\n"
     "    tenon bench model.engine --shape x=8x3x224x224 --seconds 0.2\n"
     "\n"
     "See also `tenon help shapes` (how they are written) and `tenon help profiles` (more than one range).\n"},
    {"shapes", "how shapes and ranges are written",
     "A shape is its dimensions joined by x, in the order of the model:      1x3x224x224\n"
     "A range is three shapes joined by colons, minimum, optimum, maximum:   1x3x224x224:4x3x224x224:8x3x224x224\n"
     "A single shape stands for all three. NAME= in front says which input:  --shape image=1x3x224x224:4x3x224x224:8x3x224x224\n"
     "\n"
     "Dynamic dimensions without a range are fixed to 1, and a warning says so. `tenon inspect model.onnx` shows names and\n"
     "dimensions.\n"},
    {"profiles", "one engine, tuned for several ranges of shapes",
     "A profile is a set of ranges with steps of its own. One is enough where shapes stay near the optimum; a single\n"
     "request and a full batch want different tactics, so give each a profile. `--profile` begins the next one:\n"
     "\n"
     "    tenon build model.onnx -o model.engine --shape x=1x3x224x224 --profile --shape x=16x3x224x224\n"
     "\n"
     "Weights are stored once, as far as the profiles pack them alike. A run takes the first profile that holds its\n"
     "shapes; --use-profile takes another:\n"
     "\n"
     "    tenon bench model.engine --use-profile 1 --seconds 0.2\n"
     "\n"
     "`tenon bench model.onnx --sweep batch=1..32` and the same with --tune-each show what several profiles would gain.\n"},
    {"precision", "which types the arithmetic has, and what that does to the results",
     "A step computes in the types of the model: float32 in, float32 sums. A model in float16 or bfloat16 keeps them, with\n"
     "sums in float32. On GPUs from 8.0 products of float32 may round their operands to TF32 (10 bits of mantissa; sums\n"
     "stay float32), as PyTorch's convolutions and onnxruntime do; --no-tf32 forbids that. On a CPU nothing is rounded.\n"
     "How far results lie from the reference, and what each precision gains, for a model of yours:\n"
     "\n"
     "    tenon bench model.onnx --table --seconds 0.2\n"
     "\n"
     "The reference is the slow, plain evaluation that judges every fast one:\n"
     "\n"
     "    tenon run model.onnx --input x=x.npy --output y=want.npy --reference\n"},
    {"timing-cache", "faster builds, and equal engines",
     "Most of a build is timing. --timing-cache keeps every time that was taken, and the next build of this model, or of\n"
     "one that shares steps with it, takes them from there:\n"
     "\n"
     "    tenon build model.onnx -o model.engine --shape x=4x3x224x224 --timing-cache times.txt\n"
     "\n"
     "With all times known a build chooses the same and writes the same engine, byte for byte. A time is known by the\n"
     "problem, the tactic, its code, the device, threads and library versions, so a cache can be shared, and an outdated\n"
     "entry is never used. It is written even when a build fails or is cancelled. --no-timing (or --level 0) times nothing\n"
     "and decides by a model of the costs.\n"},
    {"batches", "why time grows with the batch, and whether streams help",
     "A run takes a part that is there for every batch (launches, waiting, reading the weights) and a part that each\n"
     "sample adds. As long as the first is the larger one, further samples are nearly free. When the device is full, each\n"
     "sample costs its own arithmetic or its own memory traffic: time then grows with the batch, and the throughput no\n"
     "longer does. That point is the knee:\n"
     "\n"
     "    tenon bench model.onnx --sweep batch=1..8 streams=1,2 --seconds 0.1\n"
     "\n"
     "measures every setting, marks the knee (the smallest batch with 90% of the best throughput at that number of\n"
     "streams), and says what is limited by what and in which layers, from profiled runs at two batches. Streams run\n"
     "several batches beside each other: they fill what one run leaves idle, and gain nothing once one run fills the\n"
     "device; the sweep says which it is. --max-latency picks the setting with most throughput whose runs are done in\n"
     "time:\n"
     "\n"
     "    tenon bench model.onnx --sweep batch=1..8 --max-latency 50ms --seconds 0.1\n"
     "\n"
     "On a CPU all streams share the same cores, so a second one rarely gains; a GPU with small batches is where they do.\n"},
    {"npy", "which .npy files can be read and written",
     "Files as numpy.save writes them, format version 1.0 or 2.0, C order, little-endian. The type must be the input's:\n"
     "\n"
     "    numpy.save('x.npy', x.astype(numpy.float32))                        # f32\n"
     "    numpy.save('x.npy', numpy.ascontiguousarray(x))                     # out of Fortran order\n"
     "\n"
     "numpy has no bfloat16 and no 8-bit floats: these are read and written as the package ml_dtypes does, as raw elements\n"
     "of two bytes (V2) or one (V1).\n"},
    {"exit-codes", "what the exit codes mean",
     "0  the work is done\n"
     "1  the work failed: a message on standard error says why and names the file, input or option\n"
     "2  wrong usage: the command line itself makes no sense; nothing was done\n"
     "3  bench --fail-if: measured, and slower than permitted\n"
     "\n"
     "Data is written to standard output; messages, warnings and progress go to standard error. A progress bar is drawn only\n"
     "when standard error is a terminal. Ctrl-C cancels a build cleanly: exit code 1, and no engine is written.\n"},
    {NULL, NULL, NULL},
};
