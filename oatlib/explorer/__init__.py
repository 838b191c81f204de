"""The explorer: a page on which sliders move real networks.

* widget: the widget itself.
* state: where the dials stand, as a checked value and a string.
* measure: one setting, measured step by step.
* named_attacks: the attacks that the page offers.
* surface: curves over all dials, measured before.
* cache: known measurements, and the prefetched one.
* worker: the one background thread.
* live_training: a training that can be watched.
* saving: networks that were trained on the page, as files.
* description: what does not change with the dials.
* html: the page as one file.
* shipped: the ready networks, which come with oatlib.
* open_files: networks and their curves from files.
* own_copy: the user's copy of the images that a network was trained on.
* server: the page on a port of its own.
* app: what is on that page.
* front_end: the files of static/ as one module.
* static/: the front end, plain JavaScript. explorer.js owns the state and the parts of the page;
  types.d.ts lists what Python and the browser exchange.
"""
