"""The catalogue that stands in for the durable one in tests obeys the same laws."""

import pytest

from tests.fakes.catalogue import MemoryCatalogue
from tests.laws.catalogue_laws import CatalogueLaws


class TestMemoryCatalogue(CatalogueLaws):
    @pytest.fixture
    def catalogue(self):
        return MemoryCatalogue()
