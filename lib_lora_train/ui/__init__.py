"""The page, in gradio 3.41.2 and 4.44.1; the only room that imports it. `tab.build_tab` is what hosts call."""
