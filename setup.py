import os
from glob import glob
from pathlib import Path

from setuptools import Extension, setup

PURE = os.environ.get("NAPCORE_PURE") == "1"  # build no extension
TRACE = os.environ.get("NAPCORE_TRACE") == "1"  # line tracing, for coverage only


def extensions():
    if PURE:
        return []
    from Cython.Build import cythonize

    macros = [("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")] if TRACE else []
    headers = sorted(glob("src/napcore/_*.h"))
    modules = [
        Extension(
            f"napcore.{Path(source).stem}",
            [source],
            include_dirs=["src/napcore"],
            define_macros=macros,
            depends=headers,
        )
        for source in sorted(glob("src/napcore/_*.pyx"))
    ]
    return cythonize(
        modules,
        build_dir=None if TRACE else "build/cython",  # Cython.Coverage looks for the C beside the .pyx
        compiler_directives={"language_level": "3", "autotestdict": False, "linetrace": TRACE},
        annotate=os.environ.get("NAPCORE_ANNOTATE") == "1",
    )


setup(ext_modules=extensions())
