// Who may ask the dashboard what, and what no client can do to it: names, origins, tokens, sizes, patience.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <list>

#include "running_dashboard.hpp"
#include "tools/stem/dashboard/gate.hpp"

namespace stem::dashboard_test {
namespace {

using cli_test::Scene;
using ::testing::HasSubstr;
using ::testing::Not;

// The token of a file, or why it is refused.
std::string read_token(const std::string& path) {
  const auto token = cli::read_token_file(path);
  return token.ok() ? *token : token.error().message;
}

int status_of(const httplib::Result& result) { return result ? result->status : 0; }

TEST(Gate, NamesThatAnyoneCouldPointAtUsAreRefused) {
  const Scene scene;
  const RunningDashboard dashboard(scene, {"--host", "Stem.Example"});
  const auto status = [&](const std::string& host, const std::string& path = "/api/session") {
    return status_of(dashboard.get(path, {{"Host", host}}));
  };
  for (const char* host : {"127.0.0.1", "127.0.0.1:9464", "localhost", "LOCALHOST:1", "[::1]:9464", "10.0.0.7:9464",
                           "stem.example", "stem.example:9464"})
    EXPECT_EQ(status(host), 200) << host;
  for (const char* host : {"evil.example", "evil.example:9464", "localhost.evil.example", "127.0.0.1.evil.example",
                           "stem.example.evil.example", "[::1].evil.example", "[", "127.1", "x@127.0.0.1"})
    EXPECT_EQ(status(host), 421) << host;
  EXPECT_EQ(status("evil.example", "/"), 421);
  EXPECT_EQ(status("evil.example", "/metrics"), 421);
  // A load balancer asks by any name; there is nothing to learn.
  EXPECT_EQ(status("evil.example", "/healthz"), 200);
  EXPECT_EQ(status("evil.example", "/readyz"), 503);
  const auto old = [&](const std::string& path) {
    const RawConnection connection(dashboard.port());
    EXPECT_TRUE(connection.send("GET " + path + " HTTP/1.0\r\n\r\n"));
    return connection.read_all(5000).substr(0, 12);
  };
  EXPECT_EQ(old("/healthz"), "HTTP/1.1 200");
  EXPECT_EQ(old("/api/session"), "HTTP/1.1 421");
}

TEST(Gate, PagesOfOtherSitesMayNotAsk) {
  const Scene scene;
  const cli_test::TemporaryDirectory place;
  const RunningDashboard dashboard(scene, {"--token-file", token_file(place)});
  const std::string own = "127.0.0.1:" + std::to_string(dashboard.port());
  const auto with = [&](const httplib::Headers& headers) { return status_of(dashboard.get("/api/session", headers)); };
  EXPECT_EQ(with({{"Origin", "http://" + own}, {"Sec-Fetch-Site", "same-origin"}}), 200);
  EXPECT_EQ(with({{"Origin", "http://evil.example"}}), 403);
  EXPECT_EQ(with({{"Origin", "null"}}), 403);
  EXPECT_EQ(with({{"Origin", "http://" + own + ".evil.example"}}), 403);
  EXPECT_EQ(with({{"Sec-Fetch-Site", "cross-site"}}), 403);
  EXPECT_EQ(with({{"Sec-Fetch-Site", "same-site"}}), 403);
  // A link to the page from elsewhere is a link.
  EXPECT_EQ(status_of(dashboard.get("/", {{"Sec-Fetch-Site", "cross-site"}})), 200);
  httplib::Headers forged = kWithToken;
  forged.emplace("Origin", "http://evil.example");
  EXPECT_EQ(status_of(dashboard.post("/api/queue/pause", {{"queue", "q"}}, forged)), 403);
  // What a form can send without asking first.
  httplib::Client client("127.0.0.1", dashboard.port());
  EXPECT_EQ(status_of(client.Post("/api/queue/pause", kWithToken, R"({"queue":"q"})", "text/plain")), 415);
  EXPECT_EQ(status_of(client.Post("/api/queue/pause", kWithToken, "queue=q", "application/x-www-form-urlencoded")),
            415);
  const auto answer = client.Options("/api/session");
  EXPECT_EQ(status_of(answer), 405);
  EXPECT_EQ(answer->get_header_value("Access-Control-Allow-Origin"), "");
}

TEST(Gate, WritingWantsTheToken) {
  Scene scene;
  (void)scene.enqueue({"t", "-q", "work"});
  const RunningDashboard reading(scene);
  EXPECT_EQ(status_of(reading.post("/api/queue/pause", {{"queue", "work"}}, kWithToken)), 403);
  EXPECT_EQ(reading.json("/api/session")["writes"], false);

  const cli_test::TemporaryDirectory place;
  const RunningDashboard dashboard(scene, {"--token-file", token_file(place)});
  for (const char* wrong :
       {"", "Bearer", "Bearer ", "Bearer 0123456789abcdef0123456789abcdeF", "Basic 0123456789abcdef",
        "Bearer 0123456789abcdef0123456789abcdef0", "Bearer  0123456789abcdef0123456789abcdef"}) {
    const auto answer = dashboard.post("/api/queue/pause", {{"queue", "work"}}, {{"Authorization", wrong}});
    EXPECT_EQ(status_of(answer), 401) << wrong;
    EXPECT_EQ(answer->get_header_value("WWW-Authenticate"), "Bearer");
  }
  EXPECT_EQ(scene.run_json({"observe", "queues"})["queues"][0]["paused"], false);
  EXPECT_EQ(status_of(dashboard.post("/api/queue/pause", {{"queue", "work"}}, kWithToken)), 200);
  EXPECT_EQ(scene.run_json({"observe", "queues"})["queues"][0]["paused"], true);
}

TEST(Gate, ReadingMayWantItToo) {
  Scene scene;
  (void)scene.segment();
  const cli_test::TemporaryDirectory place;
  const RunningDashboard dashboard(scene, {"--token-file", token_file(place), "--token-for", "everything"});
  for (const char* path : {"/metrics", "/api/overview", "/api/tasks/find", "/api/session"}) {
    EXPECT_EQ(status_of(dashboard.get(path)), 401) << path;
    EXPECT_TRUE(test::wait_until([&] { return status_of(dashboard.get(path, kWithToken)) == 200; })) << path;
  }
  EXPECT_EQ(status_of(dashboard.get("/")), 200);
  EXPECT_EQ(status_of(dashboard.get("/healthz")), 200);
}

TEST(Gate, TokenFilesThatOthersCanReadAreRefused) {
  const Scene scene;
  const cli_test::TemporaryDirectory place;
  const std::string open = place.write("open", std::string(kToken) + "\n");
  std::filesystem::permissions(open, std::filesystem::perms::owner_all | std::filesystem::perms::group_read);
  EXPECT_THAT(read_token(open), HasSubstr("chmod 600"));
  const std::string brief = place.write("brief", "0123456789abcde\n");
  std::filesystem::permissions(brief, std::filesystem::perms::owner_read);
  EXPECT_THAT(read_token(brief), HasSubstr("16 to 512"));
  EXPECT_THAT(read_token(place.path()), HasSubstr("is no file"));
  EXPECT_THAT(read_token(place.path() + "/none"), HasSubstr("No such file"));
  EXPECT_EQ(read_token(token_file(place)), kToken);
  EXPECT_EQ(scene.run({"dashboard", "--token-file", open}).exit_code, 2);
  EXPECT_EQ(scene.run({"dashboard", "--token-for", "everything"}).exit_code, 2);
  for (const char* listen : {"", ":9464", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:65536", "::1:9464", "127.0.0.1:-1"})
    EXPECT_EQ(scene.run({"dashboard", "--listen", listen}).exit_code, 2) << listen;
  const RunningDashboard taken(scene);
  EXPECT_EQ(scene.run({"dashboard", "--listen", "127.0.0.1:" + std::to_string(taken.port())}).exit_code, 70);
}

// ---- clients that mean no good

bool answers(const RunningDashboard& dashboard) { return status_of(dashboard.get("/healthz")) == 200; }

TEST(Limits, SilentAndSlowClientsHangNobody) {
  const Scene scene;
  const RunningDashboard dashboard(scene);
  std::list<RawConnection> slow;
  for (int i = 0; i < 12; ++i) {
    slow.emplace_back(dashboard.port());
    if (i % 3 != 0)
      EXPECT_TRUE(slow.back().send(i % 3 == 1 ? "GET / HT" : "POST /api/queue/pause HTTP/1.1\r\nHost: 127.0.0.1\r\nX"));
  }
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(answers(dashboard));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(4));
  // More of them than there are threads: they are cut off in the end, and the others served.
  for (int i = 0; i < 60; ++i) slow.emplace_back(dashboard.port());
  EXPECT_TRUE(test::wait_until([&] { return answers(dashboard); }, std::chrono::milliseconds(60'000)));
}

// A byte now and then is not patience that somebody must have for ever.
TEST(Limits, ATrickleEnds) {
  const Scene scene;
  const RunningDashboard dashboard(scene);
  const RawConnection trickle(dashboard.port());
  ASSERT_TRUE(trickle.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "));
  const auto begun = std::chrono::steady_clock::now();
  const bool cut =
      test::wait_until([&] { return !trickle.send("x") || !trickle.read_all(500).empty() || trickle.ended(); },
                       std::chrono::milliseconds(40'000));
  EXPECT_TRUE(cut);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(30));
  EXPECT_TRUE(answers(dashboard));
}

TEST(Limits, EndlessAndLargeRequestsAreCutOff) {
  const Scene scene;
  const cli_test::TemporaryDirectory place;
  const RunningDashboard dashboard(scene, {"--token-file", token_file(place)});
  const RawConnection endless(dashboard.port());
  ASSERT_TRUE(endless.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"));
  bool cut = false;
  for (int i = 0; i < 10'000 && !cut; ++i)
    cut = !endless.send("X-Header-" + std::to_string(i) + ": " + std::string(1000, 'x') + "\r\n");
  EXPECT_TRUE(cut);

  const auto large = dashboard.post("/api/queue/pause", {{"queue", std::string(200'000, 'x')}}, kWithToken);
  EXPECT_TRUE(!large || large->status == 413) << status_of(large);
  EXPECT_EQ(status_of(dashboard.get("/" + std::string(5000, 'a'))), 414);
  EXPECT_EQ(status_of(dashboard.get("/", {{"Range", "bytes=0-,0-,0-,0-"}})), 416);
  EXPECT_TRUE(answers(dashboard));
}

// What follows a refused request on its connection is not another request.
TEST(Limits, NothingIsSmuggledBehindARefusal) {
  Scene scene;
  (void)scene.enqueue({"t", "-q", "work"});
  const cli_test::TemporaryDirectory place;
  const RunningDashboard dashboard(scene, {"--token-file", token_file(place)});
  const std::string act =
      std::string("POST /api/queue/pause HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n") +
      "Authorization: Bearer " + kToken + "\r\nContent-Length: 16\r\n\r\n{\"queue\":\"work\"}";
  for (const std::string first :
       {"POST /api/x HTTP/1.1\r\nHost: evil.example\r\nContent-Length: ",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ",
        "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nContent-Length: "}) {
    const RawConnection connection(dashboard.port());
    (void)connection.send(first + std::to_string(act.size()) + "\r\n\r\n" + act);
    const std::string answer = connection.read_all(10'000);
    EXPECT_THAT(answer, HasSubstr("HTTP/1.1 4")) << first;
    EXPECT_THAT(answer, Not(HasSubstr("HTTP/1.1 200"))) << first;
  }
  EXPECT_EQ(scene.run_json({"observe", "queues"})["queues"][0]["paused"], false);
  const RawConnection good(dashboard.port());
  ASSERT_TRUE(good.send(act));
  EXPECT_THAT(good.read_all(5000), HasSubstr("HTTP/1.1 200"));
  EXPECT_EQ(scene.run_json({"observe", "queues"})["queues"][0]["paused"], true);
}

TEST(Limits, GarbageIsNoCrash) {
  const Scene scene;
  const RunningDashboard dashboard(scene);
  for (const std::string bytes :
       {std::string("\0\0\0\0\r\n\r\n", 8), std::string("GET\r\n\r\n"),
        std::string("GET /%zz%00%ff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), std::string("GET / HTTP/9.9\r\n\r\n"),
        std::string("POST /api/dlq/purge HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: "
                    "chunked\r\n\r\nffffffffffffffff\r\n")}) {
    const RawConnection connection(dashboard.port());
    (void)connection.send(bytes);
    (void)connection.read_all(300);
  }
  EXPECT_TRUE(answers(dashboard));
}

}  // namespace
}  // namespace stem::dashboard_test
