"""The programs that the drives run: each asks for its first argument, and ends with 0 only if it got it."""

REQUESTS = "import requests, sys; requests.get(sys.argv[1], timeout=60).raise_for_status()"
HTTPX = "import httpx, sys; httpx.get(sys.argv[1], timeout=60).raise_for_status()"
URLLIB = "import urllib.request, sys; urllib.request.urlopen(sys.argv[1]).read()"
AIOHTTP = """
import aiohttp, asyncio, sys
async def main():
    async with aiohttp.ClientSession(trust_env=True) as session, session.get(sys.argv[1]) as answer:
        answer.raise_for_status()
asyncio.run(main())
"""
AIOHTTP_WS = """
import aiohttp, asyncio, sys
async def main():
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.ws_connect(sys.argv[1].replace("https:", "wss:")) as socket:
            await socket.send_str("hello")
            assert (await socket.receive_str()) == "hello"
asyncio.run(main())
"""
BOTO3 = """
import boto3, sys
from botocore.config import Config
once = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
boto3.client("s3", endpoint_url=sys.argv[1], config=once).get_object(Bucket="boto3", Key="key")["Body"].read()
"""
HTTPLIB2 = "import httplib2, sys; sys.exit(int(httplib2.Http().request(sys.argv[1])[0]['status']) >= 400)"
HTTPLIB2_ALONE = "import sys; sys.modules['socks'] = None; " + HTTPLIB2  # as where PySocks is not installed
OPENAI = """
import openai, sys
openai.OpenAI(base_url=(sys.argv[1:] or [None])[0], api_key="x", max_retries=0).models.list()
"""
ANTHROPIC = """
import anthropic, sys
anthropic.Anthropic(base_url=(sys.argv[1:] or [None])[0], api_key="x", max_retries=0).models.list()
"""
GRPC = """
import grpc, sys
with grpc.secure_channel(sys.argv[1].removeprefix("https://") + ":443", grpc.ssl_channel_credentials()) as channel:
    channel.unary_unary("/echo.Echo/Unary")(b"hello", timeout=60)
"""
AIOHTTP_ALONE = AIOHTTP.replace("trust_env=True", "")
URLLIB3_ALONE = 'import sys, urllib3; urllib3.PoolManager(retries=False).request("GET", sys.argv[1])'
URLLIB3 = """
import os, sys, urllib3
proxy = urllib3.util.parse_url(os.environ["HTTPS_PROXY"])
credentials = urllib3.make_headers(proxy_basic_auth=proxy.auth)
manager = urllib3.ProxyManager(proxy.url, proxy_headers=credentials, ca_certs=os.environ["SSL_CERT_FILE"])
sys.exit(manager.request("GET", sys.argv[1]).status >= 400)
"""
NODE_UNDICI = "require('undici').request(process.argv[1]).then(a => { a.body.dump(); process.exitCode = a.statusCode < 400 ? 0 : 1; })"
NODE_FETCH = "fetch(process.argv[1]).then(async a => { await a.text(); process.exitCode = a.ok ? 0 : 1; })"
NODE_HTTPS = """
require('node:https').get(process.argv[1], a => { a.resume(); process.exitCode = a.statusCode < 400 ? 0 : 1; })
"""
DENO = "const a = await fetch(Deno.args[0]); await a.text(); Deno.exit(a.ok ? 0 : 1)"
RUBY = 'require "net/http"; exit Net::HTTP.get_response(URI(ARGV[0])).is_a?(Net::HTTPSuccess)'
POM = """
<project><modelVersion>4.0.0</modelVersion>
  <parent><groupId>test.acme</groupId><artifactId>parent</artifactId><version>1</version></parent>
  <artifactId>child</artifactId><packaging>pom</packaging>
</project>
"""
PARENT_POM = """
<project><modelVersion>4.0.0</modelVersion>
  <groupId>test.acme</groupId><artifactId>parent</artifactId><version>1</version><packaging>pom</packaging>
</project>
"""
MAVEN_SETTINGS = """
<settings><mirrors><mirror><id>shelf</id><mirrorOf>*</mirrorOf><url>BASE/maven</url></mirror></mirrors></settings>
"""

JAVA = {
    "Plain": """
import java.net.*;
class Plain {
    public static void main(String[] given) throws Exception {
        HttpURLConnection asked = (HttpURLConnection) new URL(given[0]).openConnection();
        System.exit(asked.getResponseCode() < 400 ? 0 : 1);
    }
}
""",
    "Alone": """
import java.net.*;
import java.net.http.*;
class Alone {
    public static void main(String[] given) throws Exception {
        HttpRequest asked = HttpRequest.newBuilder(URI.create(given[0])).build();
        System.out.println(HttpClient.newHttpClient().send(asked, HttpResponse.BodyHandlers.ofString()).statusCode());
    }
}
""",
    "Client": """
import java.net.*;
import java.net.http.*;
class Client {
    public static void main(String[] given) throws Exception {
        HttpClient client = HttpClient.newBuilder().authenticator(Authenticator.getDefault()).build();
        HttpRequest asked = HttpRequest.newBuilder(URI.create(given[0])).build();
        System.exit(client.send(asked, HttpResponse.BodyHandlers.ofString()).statusCode() < 400 ? 0 : 1);
    }
}
""",
}
"""Compiled before the drives, in the folder that CLASSPATH names."""
