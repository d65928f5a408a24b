"""The app: a page in the browser, on this machine alone, for people who color and do not open a terminal.

It has nothing of its own but the page: drawings are read by `lineart`, painted by `pipeline.render.render_clip`, and
what is wrong with a file is the line that `lvcd colorize` prints. Gradio is used here and nowhere else (`lvcd[app]`).

shot_folder    a shot: a folder with what was uploaded, what was chosen and what is painted, which outlives the server
uploads        files that a browser sent, taken over under names that stay in the shot's folder
clip_facts     what a clip's drawings are, in words and pictures, before anything is painted
shot_painter   one rendering in a thread: progress, time left, cancelling
region_strokes a click on a region as strokes of color
downloads      what a person takes home: frames, layers, a movie, the palette
shot_views     what a shot looks like on the page: strip, player, picture, links, progress
page           the page, and what its buttons do
server         the page on a port of this machine, which nothing foreign can load from or be loaded into
example        a walk cycle to try everything with
"""
