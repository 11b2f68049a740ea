# SPDX-License-Identifier: Apache-2.0
"""doc/c-api.md is made of include/tenon.h, whose comments are the manual: sections, prose, declarations, and an index of functions.

    python3 doc/c_api.py            writes it anew
    python3 doc/c_api.py --check    says whether it is fresh (`./dev lint` asks that too)
"""
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEADER, PAGE = os.path.join(TOP, "include", "tenon.h"), os.path.join(TOP, "doc", "c-api.md")


def functions(header):
    """Names of the public functions, in order."""
    return re.findall(r"^TENON_API [^;(]*?(tenon_\w+)\(", header, re.M)


def prose(comment):
    """The text of a block comment: its lines, with four blanks and more kept as code."""
    text = re.sub(r"^/\*\s?|\s*\*/$", "", comment.strip())
    out, code = [], False
    for line in text.split("\n"):
        line = re.sub(r"^   ", "", line).rstrip()
        if bool(re.match(r" {4}", line)) != code and line:
            while out and not out[-1]:
                out.pop()
            code = not code
            out += ["", "```c"] if code else ["```", ""]
        out.append(line[4:] if code else re.sub(r"(?<![\w`])((?:tenon|TENON)_\w+)", r"`\1`", line))
    return "\n".join(out + ["```"] if code else out)


def blocks(header):
    """("section" | "comment" | "code", text) in order."""
    body = header[header.index("#ifndef TENON_H"):]
    body = re.sub(r"^#ifdef __cplusplus.*?^#endif\n", "", body, flags=re.S | re.M)
    body = re.sub(r"^#(?:include|ifndef TENON_H|define TENON_H$|endif).*\n", "", body, flags=re.M)
    body = re.sub(r"^#if defined.*?^#define TENON_MUST_USE.*?\n", "", body, flags=re.S | re.M)
    depth, code = 0, []             # depth below 0: inside a comment
    for line in body.split("\n"):
        section = re.match(r"/\* ---- (.*?) ----(.*)$", line)
        if not code and section:
            yield "section", section[1].rstrip(" */")
            if not line.endswith("*/"):
                code = ["/* " + section[2].strip()]
                depth = -1
        elif depth < 0 or (not code and line.startswith("/*")):
            code.append(line)
            depth = -1
            if line.rstrip().endswith("*/"):
                yield "comment", "\n".join(code)
                code, depth = [], 0
        elif line.strip() or code:
            code.append(line)
            bare = re.sub(r"/\*.*?\*/|\".*?\"", "", line)
            depth += bare.count("{") - bare.count("}")
            done = re.sub(r"/\*.*$", "", bare).rstrip()
            if depth == 0 and (done.endswith(";") or done.startswith("#define")):
                yield "code", "\n".join(code)
                code = []


def page(header):
    out = ["# The C API", "", "Made of [include/tenon.h](../include/tenon.h) by `python3 doc/c_api.py`; change the header, not this page.", ""]
    head = re.search(r"\*/\n(/\* Tenon:.*?\*/)", header, re.S)
    out += [prose(head[1]), ""]
    section, index, body, held = "", [], [], []

    def flush():
        if held:
            body.extend(["```c", *held, "```", ""])
            held.clear()

    for kind, text in blocks(header):
        if kind == "code":
            mark = re.match(r"TENON_API (TENON_MUST_USE )?", text)
            held.append(re.sub(r"^ {%d}(?= )" % len(mark[0]), "", text[len(mark[0]):], flags=re.M) if mark else text)
            index += [(name, section) for name in functions(text)]
            continue
        flush()
        if kind == "section":
            section = text
            body += [f"## {text[0].upper()}{text[1:]}", ""]
        else:
            body += [prose(text), ""]
    flush()
    out += ["## Functions", ""]
    last = None
    for name, where in index:
        if where != last:
            anchor = re.sub(r"[^\w -]", "", where.lower()).replace(" ", "-")
            out += [f"- [{where}](#{anchor}): `{name}`"]
            last = where
        else:
            out[-1] += f", `{name}`"
    out = [line for i, line in enumerate(out) if line or i == 0 or out[i - 1]]
    return "\n".join(out + [""] + body).rstrip() + "\n"


def fresh():
    """Whether the page is what the header says."""
    with open(HEADER, encoding="utf-8") as f:
        want = page(f.read())
    if not os.path.exists(PAGE):
        return False
    with open(PAGE, encoding="utf-8") as f:
        return f.read() == want


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(0 if fresh() else "doc/c-api.md is older than include/tenon.h: python3 doc/c_api.py")
    with open(HEADER, encoding="utf-8") as source:
        made = page(source.read())
    with open(PAGE, "w", encoding="utf-8") as target:
        target.write(made)
