"""The page to look at: a picture in, and in one second whether the model may be believed on it, and why.

Begin with `page.html` and `page.js`, the parts on it and the one place that joins them. Each of the other modules does
one thing: `intake.js` and `camera.js` bring pictures, `api.js` talks to the service and `key.js` asks for its key,
`gallery.js` shows all pictures and `verdict.js` one of them, with `distribution.js` and `bars.js` for what is drawn;
`card.js` is the model card. All text reaches the document by `dom.js`, as text and never as markup. A browser loads
these files and nothing else, as they are: there is no build step. `routes.py` serves them.
"""
