"""A page in the browser of this computer, for who decides about a release and does not read tables.

The way of what is shown, and the file of each stage::

    methods       what an image can go through: trained anonymizers, conventional operators; the key
    film          the people in the first frames of a short video, which lies in memory too
    trying        one picture through all of them, with PSNR and SSIM against the raw one
    galleries     who is found, in galleries of raw and of protected images
    attacks       what an attack on the protected files has found
    release       whether a protected folder may be given out: the list
    worst         its images that show most
    judging       these one after another, for a person's yes or no (``collection.review`` keeps it)
    showing       what was found as a piece of a page
    events        how the page calls these functions, and says what is wrong
    release_page  the page of a release
    page          all pages
    door          who may come in: this computer's browser, with the address that the command printed
    server        all of it behind one address of 127.0.0.1

Only ``events``, the pages and ``server`` know Gradio. Pictures come and go inside JSON messages and lie in
memory alone: Gradio's own uploads, which are files, are shut off by the door.
"""
