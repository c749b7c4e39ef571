"""The models that tests write as another package would also meet the contract of recommenders."""

from terrycloth.models.catalogue import Catalogue
from terrycloth.models.recommenders.recommender import Recommender
from tests.models.recommenders.model_contract import ModelContract
from tests.models.recommenders.own_models import AboveTheMean, Gated, WholeProduct


class TestGated(ModelContract):
    def make(self, catalogue: Catalogue) -> Recommender:
        return Gated(len(catalogue), 3)


class TestAboveTheMean(ModelContract):
    def make(self, catalogue: Catalogue) -> Recommender:
        return AboveTheMean(len(catalogue), 3)


class TestWholeProduct(ModelContract):
    def make(self, catalogue: Catalogue) -> Recommender:
        return WholeProduct(len(catalogue), 3)
