"""scikit-learn: GridSearchCV, on the backend that the command line names."""

import sys

from joblib import parallel_config
from sklearn.datasets import make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

if __name__ == "__main__":
    points, classes = make_classification(120, 8, random_state=0)
    with parallel_config(backend=sys.argv[1], n_jobs=2):
        search = GridSearchCV(SVC(), {"C": [0.1, 1, 10], "gamma": [0.1, 1]}, cv=3)
        search.fit(points, classes)
    print(search.best_params_, round(search.best_score_, 4))
