"""Specification scripts written for Silicon Labs' MLTK, without MLTK: see docs/mltk.md."""
