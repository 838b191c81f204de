"""Everything interactive: the explorer, and the helpers, figures and exercises of the course.

The notebooks of the course import from here. `oatlib explore` serves the explorer as a web page,
see server.py.
"""
