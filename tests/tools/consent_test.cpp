#include "tools/stem/consent.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <iostream>
#include <string>

namespace stem::cli {
namespace {

using ::testing::HasSubstr;

Context context_with(bool yes, bool dry_run, bool json = false) {
  Context context;
  context.yes = yes;
  context.dry_run = dry_run;
  context.json = json;
  return context;
}

// With nobody at a terminal.
class ConsentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    saved_ = dup(STDIN_FILENO);
    const int nothing = open("/dev/null", O_RDONLY);
    dup2(nothing, STDIN_FILENO);
    close(nothing);
  }
  void TearDown() override {
    dup2(saved_, STDIN_FILENO);
    close(saved_);
  }

 private:
  int saved_ = -1;
};

TEST_F(ConsentTest, YesIsYes) { EXPECT_EQ(ask_consent(context_with(true, false), "purge all"), Consent::kGiven); }

TEST_F(ConsentTest, DryRunWinsOverYesAndSaysWhatWouldBe) {
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(ask_consent(context_with(true, true), "purge 12 dead letters"), Consent::kDryRun);
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "dry run: would purge 12 dead letters; nothing was changed\n");
}

TEST_F(ConsentTest, DryRunKeepsStdoutForTheJsonDocument) {
  ::testing::internal::CaptureStdout();
  EXPECT_EQ(ask_consent(context_with(false, true, true), "purge all"), Consent::kDryRun);
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
}

TEST_F(ConsentTest, AScriptIsRefusedAndToldHow) {
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(ask_consent(context_with(false, false), "purge all"), Consent::kRefused);
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), HasSubstr("say --yes"));
}

// What a person at a terminal is asked, and the answer.
Consent consent_of_a_person_who_types(const std::string& answer) {
  int terminal = -1;
  int screen = -1;
  EXPECT_EQ(openpty(&terminal, &screen, nullptr, nullptr, nullptr), 0);
  EXPECT_EQ(write(terminal, answer.data(), answer.size()), static_cast<ssize_t>(answer.size()));
  const int saved_in = dup(STDIN_FILENO);
  const int saved_err = dup(STDERR_FILENO);
  dup2(screen, STDIN_FILENO);
  dup2(screen, STDERR_FILENO);
  std::cin.clear();
  const Consent consent = ask_consent(context_with(false, false), "purge all");
  dup2(saved_in, STDIN_FILENO);
  dup2(saved_err, STDERR_FILENO);
  for (const int descriptor : {terminal, screen, saved_in, saved_err}) close(descriptor);
  return consent;
}

TEST(ConsentOfAPerson, OnlyAClearYesCounts) {
  EXPECT_EQ(consent_of_a_person_who_types("y\n"), Consent::kGiven);
  EXPECT_EQ(consent_of_a_person_who_types("yes\n"), Consent::kGiven);
  EXPECT_EQ(consent_of_a_person_who_types("\n"), Consent::kRefused);
  EXPECT_EQ(consent_of_a_person_who_types("n\n"), Consent::kRefused);
  EXPECT_EQ(consent_of_a_person_who_types("\x04"), Consent::kRefused);
}

}  // namespace
}  // namespace stem::cli
