"""The field's metrics for reward models, under the papers' names, over numpy arrays.

A metric function takes columns, one entry an episode, and returns a Measurement. It becomes a
Metric by itself (``measurement.metric``) or with a confidence interval over episodes
(``bootstrap.with_interval``); that of two models on the same episodes has a difference
(``bootstrap.difference``)::

    error = lrm.mae(predicted, truth)
    table.append(with_interval(error))
    table.append(with_interval(difference(error, lrm.mae(predicted_by_other, truth))))

Failed queries have no value and must be left out before: no metric takes NaN for an answer, but
for RoboReward's, which says what an answer that cannot be parsed counts.
"""
