"""Repaired models written in the format of the file that they came from.

In this order:

    check_out(out, inputs, artifact)                # out.py, no torch: before any work
    check_writable_format(artifact, classifier)     # write.py: once the model is loaded, before the repair
    with staged(out) as staging:                    # publish.py: a place beside `out`, removed afterwards
        written = write_repaired(artifact, original, repaired, staging, samples)    # write.py
        after = identify(staging)                   # its digests; and a model to load and to measure
        save_provenance(staging, provenance)        # publish.py
        publish(staging, out)                       # publish.py, no torch: all of it, or nothing
"""
