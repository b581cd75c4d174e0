"""A Python client of one habit: client.py HABIT URL.

Says "done" after its requests, and stays until its standard input ends, so that what it left open
can be seen. HABIT "check LIBRARY" only says whether there is such a library.
"""

import asyncio
import sys

REQUESTS = 120


def requests_alone(url):
    import requests

    for _ in range(REQUESTS):
        requests.get(url).content


def requests_session(url):
    import requests

    session = requests.Session()
    for _ in range(REQUESTS):
        session.get(url).content
    return session


def httpx_alone(url):
    import httpx

    for _ in range(REQUESTS):
        httpx.get(url).content


def httpx_shared(url):
    import httpx

    client = httpx.Client()
    for _ in range(REQUESTS):
        client.get(url).content
    return client


async def aiohttp_alone(url):
    import aiohttp

    for _ in range(REQUESTS):
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:
                await response.read()


async def aiohttp_shared(url):
    import aiohttp

    async with aiohttp.ClientSession() as session:
        for _ in range(REQUESTS):
            async with session.get(url) as response:
                await response.read()


HABITS = {
    "requests-alone": requests_alone,
    "requests-session": requests_session,
    "httpx-alone": httpx_alone,
    "httpx-shared": httpx_shared,
    "aiohttp-alone": lambda url: asyncio.run(aiohttp_alone(url)),
    "aiohttp-shared": lambda url: asyncio.run(aiohttp_shared(url)),
}

if sys.argv[1] == "check":
    __import__(sys.argv[2])
else:
    kept = HABITS[sys.argv[1]](sys.argv[2])
    print("done", flush=True)
    sys.stdin.read()
