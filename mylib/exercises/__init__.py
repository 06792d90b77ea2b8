"The exercises of the lessons: words and cases, a file each, named after the lesson's notebook. Written by hand; see `mylib.judge`."
