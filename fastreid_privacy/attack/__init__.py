"""What others get back from protected files, who hold more or less: the threat grid.

Only files are needed, raw and protected ones of the same names, so any tool's output can be attacked::

    subjects        the images: those an attacker has learned from, and other people's, who are measured
    pairing         whether raw and protected files belong together
    views           the same images raw, protected, and under the conventional operators beside
    learned         rows A2, A3 and A7: a network learns the way back, from pairs
    templated       row A7: search templates are drawn as pictures
    inversion       row A1: a known operator is undone, without learning
    differencing    row A5: a mask that images share is taken off one and undone on another
    keyed           row A5: keys that are nearly right, and labels that are guessed
    observers       who looks for people: a stranger's Re-ID model of raw images, the authorised one
    stranger        training a Re-ID model for an attack
    learned_people  whether a model has learned from the people who are measured
    measures        the columns: recovery, linkage, singling out, membership, what shines through
    cells           who holds what, what is attacked, and what an attack brings
    judging         how near recovered images come, and who is recognised on them
    rows            what each row does, cell by cell
    request         what is asked for
    targets         the protected files, and those beside them
    grid            all cells, continued after a kill
    stored          attack.json
    page            attack.html
"""
