"""Configurations: plain annotated classes, compiled by pydantic at build time and checked by pydantic-core at run time.

Run time:
    base.py      what a configuration class is
    netconf.py   the keys that every plugin has, and pieces that several share
    rules.py     what values must be like, as pure functions
    frozen.py    JSON in and out; configurations checked by what is in _frozen/
    explain.py   what people read when a configuration is wrong

Build time:
    types.py     the types that annotations name, for the freezer and the type checker
    registry.py  which classes are frozen
    freezer.py   classes -> modules in _frozen/, with sources.py (annotations and texts) and compiler.py (pydantic to pydantic-core)
    export.py    classes -> JSON Schemas and, with tables.py, the key tables of docs/plugins/
"""
